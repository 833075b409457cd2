-- The table that jdbc.json writes: a user's newest prediction, whole, as the text of its JSON.
CREATE TABLE latest_predictions (
    user_id text PRIMARY KEY,
    prediction text NOT NULL
);

-- Its fields as columns; a field that predictions do not have (yet) is NULL.
CREATE VIEW predictions AS
SELECT
    user_id,
    json ->> 'prediction_id' AS prediction_id,
    json ->> 'model_version' AS model_version,
    (json ->> 'event_timestamp')::bigint AS event_timestamp,
    (json ->> 'history_length')::integer AS history_length,
    (json ->> 'purchase_probability')::double precision AS purchase_probability,
    json -> 'segment' ->> 'name' AS segment,
    json -> 'recommendations' -> 0 ->> 'item_id' AS first_item_id,
    json -> 'recommendations' AS recommendations
FROM (SELECT user_id, prediction::jsonb AS json FROM latest_predictions) AS latest;
