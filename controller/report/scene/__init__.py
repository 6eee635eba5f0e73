"""A topology as a scene: who is where, how fast it computes and what its link carries; as data, text and picture."""
