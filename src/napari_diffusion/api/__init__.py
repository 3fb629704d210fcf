"""The public functions: one flat signature each, passed on to the layers below.

`filters` is imported without the layers that only `measurements` needs.
"""
