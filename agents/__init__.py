"""What runs inside a container: the user equipment and the base station."""
