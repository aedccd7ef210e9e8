"""The figures: each module turns runs into rows and a Vega-Lite specification."""
