/** Runs mailctl as a process, with only the environment that a test gives it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const CACHE = { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }
const MAIN = join(import.meta.dirname, '../../services/cli/main.ts')

export type Ran = { code: number | null; out: string; err: string }
export type Running = {
  /** Everything written so far. */
  out(): string
  err(): string
  stop(): void
  done: Promise<Ran>
}

export function startMailctl(args: string[], env: Record<string, string>, input?: string): Running {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...CACHE, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += String(chunk)
  })
  child.stderr.on('data', (chunk) => {
    err += String(chunk)
  })
  child.stdin.end(input ?? '')
  const done = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(([[code]]) => ({
    code: code as number | null,
    out,
    err,
  }))
  return { out: () => out, err: () => err, stop: () => void child.kill('SIGINT'), done }
}

export const mailctl = (args: string[], env: Record<string, string>, input?: string): Promise<Ran> =>
  startMailctl(args, env, input).done
