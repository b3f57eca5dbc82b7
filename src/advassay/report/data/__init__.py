"""What a report says, computed once from a store: findings, tables, warnings, gaps."""
