/**
 * Reads the text of the keys from a file or from a program. Refuses a file that anybody else could read or exchange,
 * and a command that needs a shell. Neither the text nor what the program complains about ever gets into a message.
 */
import { execFile } from 'node:child_process'
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs'
import * as v from 'valibot'
import { faultCode } from '#shared/fault-code.ts'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'

const COMMAND_DEADLINE_MS = 10_000
const MAX_BYTES = 64 * 1024
/** What a shell would act on. We run no shell, so these would not mean what they seem to mean. */
const SHELL_SYNTAX = /["'`$|&;<>()\\*?~#!{}[\]\n]/
const Arguments = v.pipe(v.array(v.string()), v.minLength(1))

/**
 * The text of a key file: a regular file of this user that nobody else may read; links are not followed.
 * @throws ExitError 78
 */
export function keysFromFile(file: string, source: string): string {
  const refuse = (what: string): ExitError => new ExitError(EXIT_CONFIG, `${source}: ${file} ${what}`)
  let descriptor: number
  try {
    if (!lstatSync(file).isFile()) throw refuse('is not a regular file (links are not followed)')
    // Not blocking, in case that it became a pipe since; the checks below see what was really opened.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw error instanceof ExitError ? error : refuse(`cannot be read (${faultCode(error)})`)
  }
  try {
    const status = fstatSync(descriptor)
    if (!status.isFile()) throw refuse('is not a regular file')
    if (status.uid !== process.geteuid?.()) throw refuse('belongs to another user of this machine')
    if ((status.mode & 0o077) !== 0) throw refuse('can be read by others: run "chmod 600" on it')
    if (status.size > MAX_BYTES) throw refuse(`is larger than ${MAX_BYTES} bytes`)
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}

/**
 * What the program prints. The command is words separated by spaces, or a JSON array of words; no shell is involved.
 * @param deadlineMs when it is killed
 * @throws ExitError 78
 */
export function keysFromCommand(
  command: string,
  signal?: AbortSignal,
  deadlineMs = COMMAND_DEADLINE_MS,
): Promise<string> {
  const [program = '', ...words] = wordsOf(command.trim())
  const options = {
    shell: false,
    timeout: deadlineMs,
    killSignal: 'SIGKILL' as const,
    maxBuffer: MAX_BYTES,
    windowsHide: true,
    ...(signal === undefined ? {} : { signal }),
  }
  return new Promise((resolve, reject) => {
    const child = execFile(program, words, options, (error, stdout) => {
      if (error === null) return resolve(stdout)
      if (signal?.aborted === true) return reject(signal.reason)
      const late = error.killed === true && typeof error.code !== 'string'
      const why = late ? `no end within ${deadlineMs} ms` : `exit ${error.code ?? error.signal}`
      // Without the cause: its message repeats the command line and what the program wrote.
      reject(new ExitError(EXIT_CONFIG, `MAIL_TOKEN_KEY_COMMAND failed (${why}); run it by hand to see why`))
    })
    child.stdin?.end()
  })
}

function wordsOf(command: string): string[] {
  if (command.startsWith('[')) {
    const words = v.safeParse(v.pipe(v.string(), v.parseJson(), Arguments), command)
    if (words.success) return words.output
    throw new ExitError(EXIT_CONFIG, 'MAIL_TOKEN_KEY_COMMAND starts with [ but is not a JSON array of words')
  }
  if (SHELL_SYNTAX.test(command))
    throw new ExitError(
      EXIT_CONFIG,
      'MAIL_TOKEN_KEY_COMMAND is run without a shell: give plain words, a JSON array of words, or the path of a script',
    )
  return command.split(/\s+/)
}
