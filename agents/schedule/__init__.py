"""One round as data: what a scheme says, and what everybody else reads. No torch, no sockets, no clock."""
