"""What a cluster is: its nodes, and the inventory that names them."""
