#!/usr/bin/python
"""Ansible module: what comes into a machine, stated whole, kept by ufw."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: ufw_policy
short_description: Let in ssh, and from one network these ports, and nothing else
description:
  - States what comes into a machine as a whole. Rules of this module that are no longer wanted go,
    those that somebody else gave to ufw stay.
  - One task for all rules, since each call of ufw takes a second on a slow machine, and so that
    the order is always the same. Ssh is let in before anything is denied, and what is no longer
    wanted goes last.
  - Packets are not passed on between networks.
author: beowulf contributors
options:
  name:
    description: The name of the application profile that holds the ports.
    type: str
    default: beowulf
  source:
    description: The network that sees the ports, such as 192.0.2.0/24.
    type: str
    required: true
  ports:
    description: The ports, each with I(port), a number or a range, and I(protocol).
    type: list
    elements: dict
    required: true
  ssh_from:
    description: Networks that ssh is let in from; C(any) is everywhere.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says what it would do. Where ufw is not installed yet, everything would be changed.
    support: full
  diff_mode:
    description: Shows the rules.
    support: full
"""

EXAMPLES = r"""
- name: Let in ssh, and what the cluster serves to itself
  ufw_policy:
    source: 192.0.2.0/24
    ports: [{port: "2049", protocol: tcp}]
    ssh_from: [any]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: always
  type: list
  elements: str
"""

UFW = "/usr/sbin/ufw"
RULES = (Path("/etc/ufw/user.rules"), Path("/etc/ufw/user6.rules"))
PROFILES = Path("/etc/ufw/applications.d")
DEFAULT = Path("/etc/default/ufw")
CONF = Path("/etc/ufw/ufw.conf")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
SYSCTL = Path("/etc/sysctl.d/60-beowulf-firewall.conf")
IPTABLES, IP6TABLES, CHAIN = "/usr/sbin/iptables", "/usr/sbin/ip6tables", "ufw-user-input"
LOADED = re.compile(r"-p (tcp|udp) .*--dports? (\S+) .*dapp_([^'\\]+)")
# The first is what ufw calls it, the second what its file does.
DEFAULTS = {"incoming": ("deny", "INPUT", "DROP"), "outgoing": ("allow", "OUTPUT", "ACCEPT")}
ANYWHERE = ("0.0.0.0/0", "::/0")


def main() -> None:
    """Read the task's words, look, act, and say what was done."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "beowulf"},
            "source": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "dict", "required": True},
            "ssh_from": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if not module.params["ssh_from"]:
        module.fail_json(msg="ssh_from is empty: nobody could log in to mend that; name a network")
    for source in [module.params["source"], *module.params["ssh_from"]]:
        try:
            network(source)
        except ValueError:
            module.fail_json(msg=f"{source!r} is no network such as 192.0.2.0/24")
    if not Path(UFW).exists():
        if module.check_mode:
            module.exit_json(changed=True, actions=["install ufw"])
        module.fail_json(msg=f"{UFW} is missing; the role base installs it")
    policy = Policy(module)
    policy.settle()
    module.exit_json(
        changed=bool(policy.actions),
        actions=policy.actions,
        diff={"before": policy.before, "after": policy.after},
    )


class Policy:
    """What is wanted, what is there, and the way from one to the other."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.name: str = module.params["name"]
        self.source = network(module.params["source"])
        self.ports = sorted({f"{p['port']}/{p['protocol']}" for p in module.params["ports"]})
        self.ssh_from = list(dict.fromkeys(network(f) for f in module.params["ssh_from"]))
        self.profile = PROFILES / self.name
        self.actions: list[str] = []
        rules = [rule for path in RULES for rule in rules_of(text_of(path), self.name)]
        self.served = {rule for rule in rules if rule[0] != "ssh"}
        self.ssh = {rule[2] for rule in rules if rule[0] == "ssh"}
        self.before = shown(rules)
        self.after = shown(
            [("ssh", "22/tcp", f) for f in self.ssh_from]
            + [(self.name, port, self.source) for port in self.ports]
        )

    def settle(self) -> None:
        """Do what is needed, ssh first and what is closed last."""
        for source in self.ssh_from:
            if source not in self.ssh:
                words = ["allow", "proto", "tcp", "from", source, "to", "any", "port", "22"]
                self.ufw([*words, "comment", f"{self.name} ssh"])
        for direction, (word, chain, target) in DEFAULTS.items():
            if f'DEFAULT_{chain}_POLICY="{target}"' not in text_of(DEFAULT):
                self.ufw(["default", word, direction])
        self.settle_ports()
        for source in sorted(self.ssh - set(self.ssh_from)):
            words = ["delete", "allow", "proto", "tcp", "from", source, "to", "any", "port", "22"]
            self.ufw(words)
        if "ENABLED=yes" not in text_of(CONF) or not self.is_active():
            self.ufw(["--force", "enable"])
        elif not self.is_loaded():
            # Called over ssh, as here, ufw writes an update of the profile down, and no more.
            self.ufw(["reload"])
        self.settle_forwarding()
        if self.actions and not self.module.check_mode:
            # ufw does not; without it a power cut now could leave no rules at the next boot.
            os.sync()

    def settle_ports(self) -> None:
        """Let the network see the ports of the profile, and no port that is not in it now."""
        text = (
            f"[{self.name}]\ntitle=Cluster\ndescription=What the cluster's machines serve to "
            f"each other; written by Ansible\nports={'|'.join(self.ports)}\n"
        )
        if text_of(self.profile) != text and self.ports:
            self.actions.append(f"write {self.profile}")
            if not self.module.check_mode:
                write_whole(self.profile, text, mode=0o644)
        wanted = {(self.name, port, self.source) for port in self.ports}
        current = {rule for rule in self.served if rule[2] == self.source and wanted}
        outdated = self.served - current
        if current and current != wanted:
            self.ufw(["app", "update", self.name])
        elif wanted - current:
            self.ufw(["allow", "from", self.source, "to", "any", "app", self.name])
        for source in sorted({rule[2] for rule in outdated}):
            self.ufw(["delete", "allow", "from", source, "to", "any", "app", self.name])

    def settle_forwarding(self) -> None:
        """Pass no packets on, now and after a boot."""
        text = "# Written by Ansible: this machine is no router.\nnet.ipv4.ip_forward=0\n"
        if text_of(SYSCTL) != text:
            self.actions.append(f"write {SYSCTL}")
            if not self.module.check_mode:
                write_whole(SYSCTL, text, mode=0o644)
        if text_of(FORWARDING).strip() != "0":
            self.actions.append("switch forwarding off")
            if not self.module.check_mode:
                FORWARDING.write_text("0\n", encoding="ascii")

    def is_active(self) -> bool:
        """Return whether the kernel has ufw's rules."""
        return "Status: active" in str(self.module.run_command([UFW, "status"])[1])

    def is_loaded(self) -> bool:
        """Return whether the kernel lets in the ports of the profile, and no others."""
        six = ":" in self.source
        command = [IP6TABLES if six else IPTABLES, "-S", "ufw6-user-input" if six else CHAIN]
        found = LOADED.findall(str(self.module.run_command(command)[1]))
        ours = {f"{port}/{protocol}" for protocol, port, name in found if name == self.name}
        return ours == set(self.ports)

    def ufw(self, arguments: list[str]) -> None:
        """Note a call of ufw, and do it unless nothing shall be changed."""
        self.actions.append("ufw " + " ".join(arguments))
        if not self.module.check_mode:
            status, output, errors = self.module.run_command([UFW, *arguments])
            if status != 0:
                said = errors.strip() or output.strip()
                self.module.fail_json(msg=f"{self.actions[-1]}: {said}", actions=self.actions)


def network(source: str) -> str:
    """Return a network as ufw writes it down. Raises ValueError if it is none.

    Compared otherwise, the rule that lets ssh in would look like one that is no longer wanted.
    """
    if source == "any" or source in ANYWHERE:
        return "any"
    found = ipaddress.ip_network(source, strict=False)
    return str(found.network_address if found.num_addresses == 1 else found)


def rules_of(text: str, name: str) -> list[tuple[str, str, str]]:
    """Return our rules in a file of ufw: the profile or "ssh", port/protocol, and the source.

    ufw writes a line of words before each rule: action, protocol, port, destination, source port,
    source, then for profiles the destination's and the source's, direction, comment as hex.
    """
    rules = []
    for line in re.findall(r"^### tuple ### (.*)$", text, re.MULTILINE):
        words = line.split()
        source = "any" if words[5] in ANYWHERE else words[5]
        port = f"{words[2]}/{words[1]}"
        if words[6:7] == [name]:
            rules.append((name, port, source))
        elif words[-1] == "comment=" + f"{name} ssh".encode().hex():
            rules.append(("ssh", port, source))
    return rules


def shown(rules: list[tuple[str, str, str]]) -> str:
    """Return rules as lines for a person."""
    return "".join(sorted({f"{port} from {source}\n" for _, port, source in rules}))


def text_of(path: Path) -> str:
    """Return a file's text, or nothing if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    main()
