"""Carry standard input and output to a port, as netcat does: a ProxyCommand for tests."""

import os
import socket
import sys
import threading


def upwards(connection: socket.socket) -> None:
    while data := os.read(0, 65_536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
        threading.Thread(target=upwards, args=[connection], daemon=True).start()
        while data := connection.recv(65_536):
            os.write(1, data)
