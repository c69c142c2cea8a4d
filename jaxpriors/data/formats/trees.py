def is_tree(path):
    return False


def unread(path, reading):
    return ()


def read_tree(path, reading):
    raise NotImplementedError


def parts(path, reading):
    return []
