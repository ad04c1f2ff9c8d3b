"""``python -m dlib.selfcheck``: does this machine compute what others compute, and how fast?"""
