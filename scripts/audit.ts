/**
 * `make audit`: faults of what is installed (supply-chain.ts), then what the registry knows of weaknesses. Exit 1 when there
 * is a fault, a weakness of severity high or critical, or an answer that nobody understands. A registry that has no
 * advisories, or is not reached, is said and is no fault.
 */
import { spawnSync } from 'node:child_process'
import { packagesOf, scriptsAllowed, supplyFaults } from './supply-chain.ts'

const DEADLINE_MS = 120_000
const SEVERE = new Set(['high', 'critical'])

type Advisory = { severity: string; via: (string | { title: string; url: string })[] }
/** What `npm audit --json` prints: a report, or why there is none. */
type Answer =
  | { vulnerabilities: Record<string, Advisory> }
  | { message: string; statusCode?: number; vulnerabilities?: undefined }

const say = (line: string): boolean => process.stdout.write(`${line}\n`)

function ask(): Answer {
  const { stdout, error } = spawnSync('npm', ['audit', '--json'], {
    ...{ encoding: 'utf8', timeout: DEADLINE_MS, maxBuffer: 64 * 1024 * 1024, stdio: ['ignore', 'pipe', 'ignore'] },
  })
  if (error !== undefined) return { message: error.message }
  try {
    return JSON.parse(stdout)
  } catch {
    return { message: 'npm audit did not answer with JSON' }
  }
}

/** @returns whether nothing severe is known, as far as anybody could be asked */
function tellAdvisories(answer: Answer): boolean {
  if (answer.vulnerabilities === undefined) {
    const { message, statusCode } = answer
    const reason = [404, 405, 501].includes(statusCode ?? 0)
      ? `this registry has none (HTTP ${statusCode})`
      : /\b(ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH)\b/.exec(message)?.[1]
    if (reason === undefined) say(`advisories: FAILED: ${message}`)
    else say(`advisories: NOT LOOKED UP: ${reason}; run this again where a registry has them`)
    return reason !== undefined
  }
  const found = Object.entries(answer.vulnerabilities)
  const severe = found.filter(([, { severity }]) => SEVERE.has(severity))
  say(`advisories: ${found.length} packages, ${severe.length} of them severe`)
  for (const [name, { severity, via }] of found) {
    const causes = via.map((cause) => (typeof cause === 'string' ? `by ${cause}` : `${cause.title} ${cause.url}`))
    say(`  ${severity}: ${name}: ${causes.join('; ')}`)
  }
  return severe.length === 0
}

const dir = process.cwd()
const faults = supplyFaults(dir)
say(`packages: ${packagesOf(dir).length}; versions, hashes, install scripts, licences: ${faults.length} faults`)
say(`install scripts that run: ${scriptsAllowed(dir).join(', ') || 'none'}`)
for (const fault of faults) say(`  ${fault}`)
const isSafe = tellAdvisories(ask())
process.exitCode = faults.length === 0 && isSafe ? 0 : 1
