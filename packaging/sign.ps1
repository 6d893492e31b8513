# Signs files with Authenticode: packaging/sign.ps1 FILE…
# SIGNING_CERTIFICATE is a PFX file in base64, SIGNING_PASSWORD its password. Without a certificate nothing is signed.
$ErrorActionPreference = 'Stop'
if (-not $env:SIGNING_CERTIFICATE) {
    Write-Output '::warning::no certificate: the files stay unsigned'
    exit 0
}
$kits = Join-Path ${env:ProgramFiles(x86)} 'Windows Kits\10\bin\*\x64\signtool.exe'
$signtool = Get-ChildItem $kits | Sort-Object FullName | Select-Object -Last 1
if (-not $signtool) { throw "no signtool.exe at $kits" }
$certificate = Join-Path $env:RUNNER_TEMP 'signing.pfx'
try {
    [IO.File]::WriteAllBytes($certificate, [Convert]::FromBase64String($env:SIGNING_CERTIFICATE))
    & $signtool sign /fd SHA256 /f $certificate /p $env:SIGNING_PASSWORD /tr http://timestamp.digicert.com /td SHA256 @args
    if ($LASTEXITCODE) { throw "signtool sign: $LASTEXITCODE" }
    & $signtool verify /pa @args
    if ($LASTEXITCODE) { throw "signtool verify: $LASTEXITCODE" }
} finally {
    Remove-Item -Force -ErrorAction SilentlyContinue $certificate
}
