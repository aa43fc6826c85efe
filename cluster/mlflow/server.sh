#!/usr/bin/env bash
# MLflow's server with login: runs in PostgreSQL, artifacts in an object store, secrets from the environment only.
set -euo pipefail

: "${PGHOST:?where PostgreSQL is}" "${PGUSER:?its user}" "${PGPASSWORD:?the password of that user}"
: "${MLFLOW_ARTIFACTS:?where artifacts go, such as s3://bucket/mlflow}"
: "${MLFLOW_AUTH_ADMIN_PASSWORD:?the password of the user admin, 12 characters or more}"
: "${MLFLOW_FLASK_SERVER_SECRET_KEY:?a random text that signs sessions, the same for all servers of one database}"

export MLFLOW_AUTH_CONFIG_PATH="${MLFLOW_AUTH_CONFIG_PATH:-$(dirname "$(realpath "$0")")/auth.ini}"
# A server for runs: no job runners, which are eight more processes, and nothing sent out.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

exec mlflow server \
    --app-name basic-auth \
    --backend-store-uri postgresql:///mlflow \
    --artifacts-destination "$MLFLOW_ARTIFACTS" \
    --host "${MLFLOW_HOST:-127.0.0.1}" \
    --port "${MLFLOW_PORT:-5000}" \
    --workers "${MLFLOW_WORKERS:-2}"
