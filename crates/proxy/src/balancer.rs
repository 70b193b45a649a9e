//! Picking an endpoint: pure, over an endpoint set and the counts of requests in flight.
