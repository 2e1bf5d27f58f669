-- What the pools of a node are configured with, as hashes by pool, so that nodes see where their configurations differ. '' is
-- a node that does not say.

-- +goose Up
ALTER TABLE pl_nodes ADD COLUMN settings text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE pl_nodes DROP COLUMN settings;
