mod plan;
pub use plan::plan_tables;
