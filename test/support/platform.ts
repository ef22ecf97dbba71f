/** Lets this process look as if it ran on another system, to the end of the scope. */
export const pretendPlatform = (platform: NodeJS.Platform) => {
  const { platform: actual } = process
  const set = (value: NodeJS.Platform) => Object.defineProperty(process, 'platform', { value })
  set(platform)
  return { [Symbol.dispose]: () => void set(actual) }
}
