def read_mapping(path, reading):
    return reading
