//! What calls cost, and what may be spent.
//!
//! | file | idea |
//! |---|---|
//! | `amount` | money, exact |
//! | `price` | tokens by kind, and what each costs |
//! | `table` | which price holds for a model; `prices.json` has the built-in ones |
//! | `calendar` | hours, days and months |
//! | `ledger` | what was spent, by model and window |
//! | `budget` | what may be spent in a window, and how much of it is spoken for |

mod amount;
mod budget;
mod calendar;
mod ledger;
mod price;
mod table;

pub use self::amount::Usd;
pub use self::budget::{
    Amount, BudgetPolicy, Crossed, Exceeded, Limit, Limits, Purse, Scope, Standing, Unit,
};
pub use self::calendar::{Numbers, Window};
pub use self::ledger::{Books, Entry, Period, Row};
pub use self::price::{Listed, Price, Tariff, Tokens};
pub use self::table::{Given, Prices, Vendor};
