"""Many pods: creating and calling many, reports, sweeping and spending."""
