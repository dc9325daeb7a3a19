"""
A flat of many rooms in one world: its plan, what stands in it, and the walks through it.

`plan` and `layout` are numbers alone; `furnishing` draws them; `walks` leads the camera; `truth`
writes what a judge needs. ``python -m demo.flat`` renders it.
"""
