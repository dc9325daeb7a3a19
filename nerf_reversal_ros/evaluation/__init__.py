"""
A map measured on images of known pose: metrics, tables and the HTML report.

Other folders start at `evaluation` and `report`.
"""
