"""This node among others: who it is, what lets it in, its links and what it asks over them."""
