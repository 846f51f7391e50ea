//! Every call of a scenario is one right span.

use super::{Case, scenario};

pub(super) fn cases() -> Vec<Case> {
    vec![
        scenario("basic_64", 64, &["basic"]),
        scenario("basic_32", 32, &["basic"]),
        // 5,000 sends and 5,000 receives: 10,000 spans, and two for the queue itself.
        scenario("paced_10000", 64, &["paced", "5000"]),
        scenario("pingpong_64", 64, &["pingpong", "200"]),
        scenario("pingpong_32", 32, &["pingpong", "200"]),
        scenario("exchange_64", 64, &["exchange", "1000"]),
        scenario("exchange_32", 32, &["exchange", "1000"]),
        scenario("odd_64", 64, &["odd"]),
        scenario("odd_32", 32, &["odd"]),
        scenario("time64", 32, &["time64"]),
        scenario("tocttou_64", 64, &["tocttou", "20"]),
        scenario("tocttou_32", 32, &["tocttou", "20"]),
    ]
}
