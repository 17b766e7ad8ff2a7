"""What job-server does with the API in its life, replayed over real HTTP (rap-api.md part B)."""
