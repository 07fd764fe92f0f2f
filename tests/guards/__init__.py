"""Every guard taken out in turn: its test must fail then, or it guards nothing."""
