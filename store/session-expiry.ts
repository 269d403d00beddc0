/**
 * When the storage of the session row `alias` may be evicted (docs/adr/0017): at the time that its caller chose, else 30 days after its last turn, or after
 * its creation when it had none. Rows of before 0.2.0 do not say whether the time was chosen: one of 30 days to the microsecond was not.
 */
export const sessionExpiry = (alias: string) => `(case
  when coalesce(${alias}.expires_at_chosen, ${alias}.expires_at <> ${alias}.created_at + interval '30 days') then ${alias}.expires_at
  else greatest(${alias}.expires_at, ${alias}.last_activity_at + interval '30 days') end)`;
