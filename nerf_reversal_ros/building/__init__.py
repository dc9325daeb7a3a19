"""
The maps of several rooms as one: which room an image shows, where in it, how the rooms lie.

It localizes in the room that explains an image best, loads the map of a room when it is wanted,
and knows nothing of ROS or of arguments.
"""
