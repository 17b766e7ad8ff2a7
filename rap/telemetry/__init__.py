"""What processes tell of themselves: lines of their logs, traces, and where traces are sent."""
