-- Turns are claimed by workspace. The index that it replaces would be as good for the planner, which has no statistics, and read the
-- turns of all workspaces. An older process claims by the new one, too. The drop comes first, because it takes the stronger lock: a
-- transaction of an older process that has read turns and is about to write some would deadlock with the reverse order.
drop index turns_to_claim;
create index turns_to_claim_by_workspace on turns (api, workspace_id, not_before) where state = 'queued';
