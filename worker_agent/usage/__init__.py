"""What running jobs take of the machine: measured, and recorded as spans."""
