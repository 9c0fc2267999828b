// A tar archive in memory (POSIX ustar), enough for reports: plain files.

const BLOCK = 512

/** `entries`: path inside the archive and content. Paths beyond ustar's 255 bytes are refused by throwing. */
export function tarArchive(
  entries: readonly { readonly path: string; readonly content: string | Buffer }[],
  modified: Date,
): Buffer {
  const blocks: Buffer[] = []
  for (const { path, content } of entries) {
    const data = typeof content === 'string' ? Buffer.from(content, 'utf8') : content
    blocks.push(header(path, data.length, modified), data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK))
  }
  blocks.push(Buffer.alloc(2 * BLOCK))
  return Buffer.concat(blocks)
}

function header(path: string, size: number, modified: Date): Buffer {
  const block = Buffer.alloc(BLOCK)
  const [prefix, name] = splitPath(path)
  block.write(name, 0, 100, 'utf8')
  block.write('0000644\0', 100)
  block.write('0000000\0', 108)
  block.write('0000000\0', 116)
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124)
  block.write(
    `${Math.floor(modified.getTime() / 1000)
      .toString(8)
      .padStart(11, '0')}\0`,
    136,
  )
  block.write('        ', 148)
  block.write('0', 156)
  block.write('ustar\0' + '00', 257)
  block.write(prefix, 345, 155, 'utf8')
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

/** ustar keeps up to 155 bytes of folders apart from up to 100 bytes of name. */
function splitPath(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ['', path]
  for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
    const [prefix, name] = [path.slice(0, slash), path.slice(slash + 1)]
    if (Buffer.byteLength(prefix) <= 155 && Buffer.byteLength(name) <= 100) return [prefix, name]
  }
  throw new Error(`path is too long for a tar archive: ${path}`)
}
