"""stub"""
def race_targets(subjects, settings, progress):
    raise NotImplementedError
