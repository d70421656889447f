"""The pages of the money: customers, bills, prices, costs, leases, customers' own models, solutions, who is told, checks.

A page asks ``trade/shown`` (or an action of the trade) and renders; it works nothing out itself.
"""
