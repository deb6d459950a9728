//! Contract suites: what every implementation of a seam must do, written once.
