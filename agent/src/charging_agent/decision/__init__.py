"""The decision: rules, the guard behind them, and explanations of recorded decisions."""
