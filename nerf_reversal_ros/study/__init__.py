"""
The experiments of the original project (NeRF Reversal, 2023), repeated on one capture.

`study` runs them, `plan` lists them, `table` and `report` format the results. This folder adds
no method of its own: it trains with `regressor`, `fields`, `synthesis` and `baselines`.
"""
