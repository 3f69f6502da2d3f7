-- Systems of their own that agents tell of: accounts are found by the types of theirs.
CREATE INDEX agent_accounts_sub_systems ON agent_accounts USING gin ((metadata #> '{metadata,sub_systems}') jsonb_path_ops);
