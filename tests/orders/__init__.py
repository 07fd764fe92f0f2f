"""Lives of customers told in every order: the same facts, money and MRR movements come out."""
