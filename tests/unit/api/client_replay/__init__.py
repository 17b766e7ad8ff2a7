"""What job-server does with the API in its life, replayed over real HTTP
(docs/spec/rap-api.md part B).
"""
