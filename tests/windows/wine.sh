# Sourced by scripts/windows-*, from the root of the checkout: how a Windows program of the test bed is run.
# The prefix lies outside of the checkout: it has links to the whole file system, which build tools would follow.
export WINEPREFIX=${XDG_CACHE_HOME:-$HOME/.cache}/etwcap/wine-$(pwd -P | cksum | cut -d ' ' -f 1)
export WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=d"
wine=
for each in "$(command -v wine64 || true)" /usr/lib/wine/wine64 /usr/lib/x86_64-linux-gnu/wine/wine64; do
  [ -z "$wine" ] && [ -n "$each" ] && [ -x "$each" ] && wine=$each
done

wine_stays() { # wine_stays SECONDS: Wine's server and services outlive the last program by so long, so that not each begins them anew
  local server=${wine%/*}/wineserver64
  [ -x "$server" ] || server=$(command -v wineserver64 || command -v wineserver || true)
  [ -n "$server" ] || return 0
  "$server" "-p$1" </dev/null >/dev/null 2>&1 9>&- || true
  # a program that is not waited for at a pipe: the services that it begins would keep the pipe open
  timeout 60 "$wine" cmd.exe /c exit </dev/null >/dev/null 2>&1 9>&- || true
}

windows_python() { # the test bed's Python: it wants a standard input, and pipes for its output
  timeout "${WINDOWS_TIMEOUT:-900}" "$wine" build/windows/python/python.exe "$@" </dev/null 2>&1 9>&- | cat
}
