//! How workers are chosen.

use agentnet_proto::{rpc, task::TaskStrategy};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Problem, Query},
    rates::Class,
};

/// What came of choosing.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BalancerStats {
    /// Always `success`.
    status: &'static str,
    /// The figures.
    stats: rpc::LoadBalancerStats,
    /// When, ISO 8601.
    timestamp: String,
}

/// How workers are chosen, in figures
#[utoipa::path(get, path = "/load-balancer/stats", tag = "coordinator",
    responses((status = 200, body = ref("#/components/schemas/BalancerStats"))))]
pub(crate) async fn stats(State(app): State<App>, caller: Caller) -> Result<Json<BalancerStats>, Problem> {
    caller.pass(&app, Class::Read)?;
    let answer = caller.seat.node.registry().call::<rpc::TaskStats>(&rpc::TaskStatsRequest {}).await?;
    Ok(Json(BalancerStats { status: "success", stats: answer.load_balancer_stats, timestamp: app.now() }))
}

/// Which strategy.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// `least_connections`, `round_robin`, `weighted_round_robin`, `least_response_time`, `resource_based`,
    /// `capability_based`, `consistent_hash`, `random_of_two` or `predictive`.
    strategy: String,
}

/// The strategy from now on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StrategyAnswer {
    /// Always `success`.
    status: &'static str,
    /// For people.
    message: String,
    /// The strategy.
    strategy: TaskStrategy,
    /// Those that there are.
    available: Vec<TaskStrategy>,
    /// When, ISO 8601.
    timestamp: String,
}

/// Change how workers are chosen; for operators
#[utoipa::path(put, path = "/load-balancer/strategy", tag = "coordinator", params(Wanted),
    responses((status = 200, body = ref("#/components/schemas/StrategyAnswer"))))]
pub(crate) async fn strategy(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<StrategyAnswer>, Problem> {
    caller.pass(&app, Class::Work)?;
    let said = wanted.strategy.clone();
    let request = rpc::TaskStrategyRequest { account_id: caller.claims(), strategy: Some(wanted.strategy) };
    let answer =
        caller.seat.node.registry().call::<rpc::SetTaskStrategy>(&request).await.map_err(|error| {
            let mut problem = refused(error);
            if problem.code == "invalid_strategy" {
                problem.detail = format!("Invalid strategy: {said}");
            }
            problem
        })?;
    Ok(Json(StrategyAnswer {
        status: "success",
        message: format!("Load balancing strategy is {}", answer.strategy),
        strategy: answer.strategy,
        available: answer.available,
        timestamp: app.now(),
    }))
}
