"""
A survey: the maps of many rooms, built one after the other or by a Ray cluster, and joined.

Modules: the plan of a user, the jobs that follow from it, where they run, what is shown of them
meanwhile, and the building map at the end.
"""
