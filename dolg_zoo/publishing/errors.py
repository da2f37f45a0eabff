"""What can go wrong with publishing."""


class PublishError(Exception):
    """A preset that was not published, or is there and not as it should be; says which."""
