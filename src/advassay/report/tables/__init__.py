"""Tables of a report: one entry each, which brings its rows, printed columns, caption and place."""
