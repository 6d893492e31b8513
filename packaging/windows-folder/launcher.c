/* etwcap.exe: starts the Python that lies beside it with "-I -m etwcap" and the arguments given, and ends with its exit code.
 *
 * The interpreter's DLL is loaded by its absolute path and finds its own DLLs beside itself and in System32 only: neither the
 * current folder nor PATH nor the environment decides what runs (-I: isolated mode). PYTHON_DLL is its name, given by the build,
 * for example L"python311.dll". Without MODULE it is a plain python.exe (for the tests). */
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

#ifndef LOAD_LIBRARY_SEARCH_SYSTEM32
#define LOAD_LIBRARY_SEARCH_SYSTEM32 0x00000800
#endif
#ifndef LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR
#define LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR 0x00000100
#endif

#define LONGEST_PATH 32768 /* characters; the longest path that Windows knows */

typedef int(__cdecl *python_main)(int, wchar_t **);

static int fail(const wchar_t *what, const wchar_t *path)
{
    fwprintf(stderr, L"etwcap: %ls\n%ls: error %lu\nhint: unzip the folder of etwcap again, whole\n", what, path, GetLastError());
    return 1;
}

/* The path of the DLL beside this program; NULL where it does not fit. */
static wchar_t *beside(const wchar_t *name)
{
    wchar_t *path = malloc(LONGEST_PATH * sizeof *path);
    if (path == NULL)
        return NULL;
    const DWORD length = GetModuleFileNameW(NULL, path, LONGEST_PATH);
    wchar_t *slash = length == 0 || length >= LONGEST_PATH ? NULL : wcsrchr(path, L'\\');
    if (slash == NULL || (size_t)(slash - path) + 2 + wcslen(name) > LONGEST_PATH) {
        free(path);
        return NULL;
    }
    wcscpy(slash + 1, name);
    return path;
}

int wmain(int argc, wchar_t **argv)
{
    SetDllDirectoryW(L""); /* the current folder is no place for DLLs */
    wchar_t *path = beside(PYTHON_DLL);
    if (path == NULL)
        return fail(L"the path of this program is too long", PYTHON_DLL);
    HMODULE python = LoadLibraryExW(path, NULL, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (python == NULL)
        return fail(L"its Python cannot be loaded", path);
    python_main run = (python_main)(void *)GetProcAddress(python, "Py_Main");
    if (run == NULL)
        return fail(L"its Python is not the one it was built for", path);
#ifdef MODULE
    static const wchar_t *const first[] = {L"-I", L"-m", MODULE};
    enum { FIRST = sizeof first / sizeof *first };
    wchar_t **words = calloc((size_t)argc + FIRST + 1, sizeof *words);
    if (words == NULL)
        return fail(L"out of memory", path);
    words[0] = argv[0];
    for (int i = 0; i < FIRST; i++)
        words[1 + i] = _wcsdup(first[i]);
    for (int i = 1; i < argc; i++)
        words[FIRST + i] = argv[i];
    return run(argc + FIRST, words);
#else
    return run(argc, argv);
#endif
}
