/** Our lines of an exchange without what a documented difference adds to Envoy's. */
export function forgive(theirs: readonly string[], ours: readonly string[]): readonly string[] {
  // Envoy ends a connection for a malformed message without a word; GOAWAY is what RFC 9113 §5.4.1 asks for.
  const told = /^(client|upstream \d+): goaway [1-9]/
  const said = new Set(theirs.filter((line) => told.test(line)))
  if (!ours.some((line) => told.test(line) && !said.has(line))) return ours
  // Nor has it told of a drain that began with the faulty request.
  const drain = 'client: goaway 0 last 2147483647'
  return ours.filter((line) => said.has(line) || (!told.test(line) && (line !== drain || theirs.includes(drain))))
}
