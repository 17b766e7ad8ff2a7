"""The controller worker: wiring of workflows and controller activities."""
