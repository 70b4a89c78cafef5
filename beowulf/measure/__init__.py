"""The program that ``beowulf bench`` runs on the nodes: how fast each is, and each wire."""
