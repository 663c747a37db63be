"""Importers of public data sets: nnU-Net, autoPET, BIDS and tables become cohort folders of links."""
